"""The study as software-defined assets: a thin layer over `seqpricing_core`."""
