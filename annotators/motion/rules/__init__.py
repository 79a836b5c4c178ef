"""Rules that find postures and events in the signals of a motion."""
