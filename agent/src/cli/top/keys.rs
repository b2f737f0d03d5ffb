//! The keys of `top`, for `--help` and for `?`.

/// Behind the options.
pub(super) const HELP: &str = "Keys:\n  \
    arrows, PageUp, PageDown  select a device or a violation\n  \
    Tab                       the other of the two lists\n  \
    /                         only what contains a text; Escape shows all again\n  \
    m                         change the selected device's mode: monitor or enforce\n  \
    Q                         quarantine the selected device\n  \
    r                         release it: the mode that its policy gives it\n  \
    w                         explain the selected violation\n  \
    ?                         this list\n  \
    q                         end\n\
    A change of mode asks before it is made, and is recorded like one made by `bulkhead mode`.";
