"""Several processes: which one answers a channel, and their heartbeats."""

import sqlalchemy as sa
from alembic import op

revision = "shared_lanes"
down_revision = "outbox"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("channels", sa.Column("owner", sa.Text(), nullable=True))
    op.create_table(
        "processes",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_processes")),
    )


def downgrade() -> None:
    op.drop_table("processes")
    with op.batch_alter_table("channels") as channels:
        channels.drop_column("owner")
