"""The status page: one plain page for people, without a build step."""
