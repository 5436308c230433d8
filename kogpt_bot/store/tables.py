"""The tables, as SQLAlchemy Core; `migrations/` brings a database to this shape."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

# Explicit names, so that a later migration can drop a constraint on every database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only numbers rows by itself in a column of exactly INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """A time with a zone, stored in UTC; SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return `value` in UTC; a time without a zone is a mistake of the caller's."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return `value` with its zone."""
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


_Time = UtcDateTime()

channels = Table(
    "channels",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("key", Text, nullable=False, unique=True),  # str(ChannelKey)
    Column("created_at", _Time, nullable=False),
    # Messages up to this one were cleared by somebody: they are no context any more.
    Column("cleared_through", _Id, nullable=False, server_default="0"),
    Column("owner", Text),  # the process that answers here now; see `store/lanes.py`
    sqlite_autoincrement=True,
)

processes = Table(
    "processes",
    metadata,
    Column("token", Text, primary_key=True),
    Column("beats", BigInteger, nullable=False),
    Column("joined_at", _Time, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("channel_id", _Id, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("platform_id", Text, nullable=False),
    Column("author_id", Text, nullable=False),
    Column("author_name", Text, nullable=False),
    Column("author_is_bot", Boolean, nullable=False),
    Column("by_this_bot", Boolean, nullable=False),
    Column("text", Text, nullable=False),
    Column("reply_to", Text, nullable=False),
    Column("sent_at", _Time, nullable=False),
    Column("received_at", _Time, nullable=False),
    # A long answer is several platform messages: [[platform id, text], ...]; null for one.
    Column("parts", JSON(none_as_null=True)),
    UniqueConstraint("channel_id", "platform_id"),
    sqlite_autoincrement=True,
)
Index("ix_messages_channel_id_id", messages.c.channel_id, messages.c.id)

turns = Table(
    "turns",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("channel_id", _Id, ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", _Id, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),  # why the bot answers: direct, mention, ...
    Column("priority", Integer, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", _Time, nullable=False),  # since when it waits
    Column("updated_at", _Time, nullable=False),
    Column("generating_at", _Time),  # of the last attempt
    Column("sending_at", _Time),  # when the answer's first message was about to be sent
    Column("ended_at", _Time),
    Column("reply_id", _Id, ForeignKey("messages.id", ondelete="SET NULL")),
    Column("answer_parts", Integer),  # platform messages of the whole answer; null: not whole yet
    Column("outcome", JSON(none_as_null=True)),  # model, seed, tokens, finish reason, error
    sqlite_autoincrement=True,
)
Index("ix_turns_state", turns.c.state)
Index("ix_turns_reply_id", turns.c.reply_id)
Index("ix_turns_channel_id_id", turns.c.channel_id, turns.c.id)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("turn_id", _Id, ForeignKey("turns.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("platform_id", Text, nullable=False, server_default=""),
    Column("recorded_at", _Time, nullable=False),
    Column("settled_at", _Time),
    UniqueConstraint("turn_id", "number"),
    sqlite_autoincrement=True,
)
Index("ix_outbox_state", outbox.c.state)

settings = Table(
    "settings",
    metadata,
    Column("scope", Text, primary_key=True),  # "", "discord", "discord/GUILD", ...
    Column("key", Text, primary_key=True),  # "sampling.temperature"
    Column("value", JSON, nullable=False),
    Column("changed_at", _Time, nullable=False),
    Column("changed_by", Text, nullable=False),
)

settings_audit = Table(
    "settings_audit",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", _Time, nullable=False),
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("old", JSON(none_as_null=True)),  # null: it was not set
    Column("new", JSON(none_as_null=True)),  # null: it was reset
    Column("changed_by", Text, nullable=False),
    sqlite_autoincrement=True,
)

# A text in which profanity was found: an answer, a message, or a name. Channels and people stand
# here on their own (no foreign keys): the log outlives what the conversation forgets.
profanity_texts = Table(
    "profanity_texts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", _Time, nullable=False),
    Column("channel", Text, nullable=False),  # str(ChannelKey)
    Column("direction", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("message", Text, nullable=False),  # the platform's id; of an answer: the question's row
    Column("digest", Text, nullable=False),  # keyed hash of the text, whatever is stored of it
    Column("person", Text, nullable=False),  # keyed hash of who wrote it, or asked for it
    Column("people", Text, nullable=False),  # keyed hashes of all whose words are in the prompt
    Column("kept", Text, nullable=False),  # full, redacted, hashed
    Column("text", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("generated", Text, nullable=False),  # as the model wrote it
    Column("model", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("seed", BigInteger),
    Column("sampling", JSON(none_as_null=True)),
    Column("request", JSON(none_as_null=True)),  # prompt ids and stops; null unless kept in full
    Column("complete", Boolean, nullable=False),  # the text ended; else it is what there was then
    sqlite_autoincrement=True,
)
Index("ix_profanity_texts_at", profanity_texts.c.at)
Index("ix_profanity_texts_person", profanity_texts.c.person)
Index("ix_profanity_texts_channel", profanity_texts.c.channel, profanity_texts.c.message)

# Append-only: what was found is never changed.
profanity_hits = Table(
    "profanity_hits",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("text_id", _Id, ForeignKey("profanity_texts.id", ondelete="CASCADE"), nullable=False),
    Column("span_start", Integer, nullable=False),  # code points of the text
    Column("span_end", Integer, nullable=False),
    Column("matched", Text, nullable=False),
    Column("word", Text, nullable=False),  # with the letters that it stands among
    Column("canonical", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_profanity_hits_text_id", profanity_hits.c.text_id)

# Append-only: the newest review of a hit counts.
profanity_reviews = Table(
    "profanity_reviews",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("hit_id", _Id, ForeignKey("profanity_hits.id", ondelete="CASCADE"), nullable=False),
    Column("at", _Time, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reviewer", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_profanity_reviews_hit_id", profanity_reviews.c.hit_id)

# What reviews found to be false alarms; stays when the hit itself is erased.
profanity_allowed = Table(
    "profanity_allowed",
    metadata,
    Column("scope", Text, primary_key=True),  # "" everywhere, else a channel's key
    Column("phrase", Text, primary_key=True),
    Column("hit_id", _Id, nullable=False),
    Column("at", _Time, nullable=False),
    Column("reviewer", Text, nullable=False),
)

# People are named by keyed hashes in what follows: it outlives their messages.
opt_outs = Table(
    "opt_outs",
    metadata,
    Column("person", Text, primary_key=True),
    Column("at", _Time, nullable=False),
    Column("told_at", _Time),  # when it was explained why the bot does not answer; once
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("reply_id", _Id, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("person", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # good, bad
    Column("at", _Time, nullable=False),
    UniqueConstraint("reply_id", "person"),
    sqlite_autoincrement=True,
)
Index("ix_feedback_person", feedback.c.person)

reports = Table(
    "reports",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", _Time, nullable=False),
    Column("channel", Text, nullable=False),  # str(ChannelKey)
    Column("person", Text, nullable=False),  # who reported; "" for somebody who opted out
    Column("asker", Text, nullable=False),  # who was answered
    Column("reason", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("outcome", JSON(none_as_null=True)),  # of the turn: model, seed, tokens
    sqlite_autoincrement=True,
)
Index("ix_reports_at", reports.c.at)
