"""Scanners: each finds candidates of some info types in one pass over bytes, then decides what they are.

The decision uses shapes and words, which data repeats, so that it can be cached; check digits are computed
only for candidates that could be reported. The info types are declared in `detectors`.
"""
