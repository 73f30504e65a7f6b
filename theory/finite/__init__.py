"""Networks of finite width, compared with their infinite-width limit."""
