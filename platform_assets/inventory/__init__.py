"""Inventories of the cloud: the client of a StackQL server, and assets with history."""
