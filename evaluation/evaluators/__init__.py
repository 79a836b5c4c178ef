"""Networks that embed motions and captions in one space, by which motions are judged."""
