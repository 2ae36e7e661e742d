"""The tables of the central server's database."""

from __future__ import annotations

from edgeflow.store.database import Schema

SCHEMA = Schema(
    "central",
    0x45464C43,
    (
        """
CREATE TABLE gateway (
    id TEXT PRIMARY KEY,
    key_hash TEXT NOT NULL UNIQUE,
    enrolled INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    reported TEXT,
    reported_at INTEGER
) WITHOUT ROWID;
CREATE TABLE enrolment_token (
    hash TEXT PRIMARY KEY,
    gateway TEXT NOT NULL,
    made INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used INTEGER,
    used_by TEXT
) WITHOUT ROWID;
CREATE TABLE epoch (
    id INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    UNIQUE (gateway, epoch)
);
CREATE TABLE record (
    epoch INTEGER NOT NULL REFERENCES epoch (id),
    seq INTEGER NOT NULL,
    received INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (epoch, seq)
) WITHOUT ROWID;
CREATE TABLE result (
    gateway TEXT NOT NULL,
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    at TEXT NOT NULL,
    change INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (gateway, stream, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX result_change ON result (change);
CREATE TABLE flow_version (
    version TEXT PRIMARY KEY,
    flow TEXT NOT NULL,
    document BLOB NOT NULL,
    source TEXT NOT NULL,
    made INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE desired (
    gateway TEXT NOT NULL,
    instance TEXT NOT NULL,
    flow TEXT NOT NULL,
    version TEXT NOT NULL REFERENCES flow_version (version),
    parameters TEXT,
    PRIMARY KEY (gateway, instance)
) WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
)
""",
    ),
)
