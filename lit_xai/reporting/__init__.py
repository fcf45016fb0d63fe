"""Result files turned into pages, tables and plots, without torch."""
