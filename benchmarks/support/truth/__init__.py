"""What a careful viewer saw in the real clips, compared with what the pipeline says of them."""
