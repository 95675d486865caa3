"""Tests of platform_assets, in the same folders as the package."""
