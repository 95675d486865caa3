"""Scans: each finds a family of look-alikes in one linear pass over bytes, then what each of them could be.

What they could be is looked up by shapes and words, both of which data repeat; check digits are computed only
of what could then be reported. The info types themselves are declared in `detectors`.
"""
