"""The explorer: one HTML file that shows the graph in a browser, without a network."""
