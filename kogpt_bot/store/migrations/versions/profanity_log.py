"""The profanity log: texts, hits, reviews, and what reviews allowed."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "profanity_log"
down_revision = "0001"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXTS = (
    "channel", "direction", "policy", "outcome", "message", "digest", "person", "people", "kept",
    "text", "prompt", "generated", "model", "revision",
)  # fmt: skip


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _time() -> sa.Column[datetime]:
    return sa.Column("at", sa.DateTime(timezone=True), nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=True)


def upgrade() -> None:
    op.create_table(
        "profanity_texts",
        sa.Column("id", _Id, nullable=False),
        _time(),
        *(_text(name) for name in _TEXTS),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        _json("sampling"),
        _json("request"),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profanity_texts")),
        sqlite_autoincrement=True,
    )
    for name, columns in (
        ("ix_profanity_texts_at", ["at"]),
        ("ix_profanity_texts_person", ["person"]),
        ("ix_profanity_texts_channel", ["channel", "message"]),
    ):
        op.create_index(name, "profanity_texts", columns, unique=False)
    op.create_table(
        "profanity_hits",
        sa.Column("id", _Id, nullable=False),
        sa.Column("text_id", _Id, nullable=False),
        sa.Column("span_start", sa.Integer(), nullable=False),
        sa.Column("span_end", sa.Integer(), nullable=False),
        *(_text(name) for name in ("matched", "word", "canonical", "category")),
        sa.Column("severity", sa.Integer(), nullable=False),
        _text("rule"),
        sa.ForeignKeyConstraint(
            ["text_id"],
            ["profanity_texts.id"],
            name=op.f("fk_profanity_hits_text_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profanity_hits")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_profanity_hits_text_id", "profanity_hits", ["text_id"], unique=False)
    op.create_table(
        "profanity_reviews",
        sa.Column("id", _Id, nullable=False),
        sa.Column("hit_id", _Id, nullable=False),
        _time(),
        _text("verdict"),
        _text("reviewer"),
        sa.ForeignKeyConstraint(
            ["hit_id"],
            ["profanity_hits.id"],
            name=op.f("fk_profanity_reviews_hit_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profanity_reviews")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_profanity_reviews_hit_id", "profanity_reviews", ["hit_id"], unique=False)
    op.create_table(
        "profanity_allowed",
        _text("scope"),
        _text("phrase"),
        sa.Column("hit_id", _Id, nullable=False),
        _time(),
        _text("reviewer"),
        sa.PrimaryKeyConstraint("scope", "phrase", name=op.f("pk_profanity_allowed")),
    )


def downgrade() -> None:
    for table in ("allowed", "reviews", "hits", "texts"):
        op.drop_table(f"profanity_{table}")
