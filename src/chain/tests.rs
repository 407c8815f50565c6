//! What a node says and what is made of it.
