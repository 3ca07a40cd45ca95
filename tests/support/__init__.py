"""What the tests share: worlds, host networks, images, leak snapshots, terminals."""
