"""What the gateway keeps across a restart: a database for what changes together, a file for small documents."""
