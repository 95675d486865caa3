"""Migration of what older versions of the platform have stored."""
