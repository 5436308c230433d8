"""The outbox, the times of a turn's states, and whether its answer is whole."""

import sqlalchemy as sa
from alembic import op

revision = "outbox"
down_revision = "people"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIMES = ("generating_at", "sending_at", "ended_at")


def upgrade() -> None:
    for name in _TIMES:
        op.add_column("turns", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("turns", sa.Column("answer_parts", sa.Integer(), nullable=True))
    op.create_table(
        "outbox",
        sa.Column("id", _Id, nullable=False),
        sa.Column("turn_id", _Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("platform_id", sa.Text(), server_default="", nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["turn_id"], ["turns.id"], name=op.f("fk_outbox_turn_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("turn_id", "number", name=op.f("uq_outbox_turn_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_state", "outbox", ["state"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_outbox_state", table_name="outbox")
    op.drop_table("outbox")
    with op.batch_alter_table("turns") as turns:
        for name in ("answer_parts", *reversed(_TIMES)):
            turns.drop_column(name)
