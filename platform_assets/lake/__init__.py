"""The lake: Delta tables on local disk or object storage, and the ledger of committed batches."""
