"""Which Tulle this is: what programs say of themselves, and what images and manifests are tagged with."""

VERSION = "0.1.0"
