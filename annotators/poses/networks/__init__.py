"""The networks that find people in a frame and the landmarks of one of them."""
