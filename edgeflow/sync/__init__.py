"""The gateway's side of the exchange with the central server: results up, wished flow versions down."""
