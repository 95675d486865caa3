"""Writers: one module for each kind of destination, and the settings that choose between them."""
