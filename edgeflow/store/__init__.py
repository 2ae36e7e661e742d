"""What the gateway keeps across a restart: one SQLite file for what changes together, one document file for what is small."""
