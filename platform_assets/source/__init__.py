"""PostgreSQL as the platform's source: connections, extraction, the embedded server, the sample business."""
