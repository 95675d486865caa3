"""The lake: Delta tables on local disk or object storage, the ledger of batches, and what may be read of them."""
