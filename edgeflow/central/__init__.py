"""The central server: takes the results of many gateways and tells them which flow versions to run."""
