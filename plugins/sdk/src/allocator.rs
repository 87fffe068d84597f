//! The memory of a plugin. It is std's own allocator in a later version, which takes what lies between the plugin's data and
//! the end of the memory that it starts with; std's asks for more before anything else, and that is a change of page
//! protection, which stops all of the gateway's threads for a moment.

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;
