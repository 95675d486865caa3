"""PostgreSQL as the platform's source: connections, the embedded server and the sample business it holds."""
