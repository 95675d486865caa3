"""Scans: each finds candidates of one family in one linear pass over bytes, then decides what they could be.

The decision uses shapes and words, which data repeats, so that it can be cached; check digits are computed
only for candidates that could be reported. The info types are declared in `detectors`.
"""
