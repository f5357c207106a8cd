"""Text to packed blocks of tokens: Ray Data reads, cleans and tokenises; Arrow shards hold what training reads."""
