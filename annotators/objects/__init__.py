"""Objects and people that two object detectors see in the frames of a clip."""
