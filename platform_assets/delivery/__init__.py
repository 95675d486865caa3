"""Deliveries: results to folders, buckets, servers and mailboxes, with retries and receipts."""
