"""What benchmarks share with the tests: the larger corpus, a chat server, published baselines."""
