"""The local inspector: declared detectors, the scanners that find candidates, and how they are judged."""
