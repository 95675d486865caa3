"""What runs in the cloud: the client of a StackQL server, and inventories as assets with history."""
