"""One module per kind of file: each turns a stream into pieces, and says what it could not read."""
