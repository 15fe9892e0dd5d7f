/**
 * Limits and times of the Node side: files, HTTP, the Hub, standard input. Each is a named constant, checked
 * before anything is allocated; what bounds the content of files is in `../limits.ts`.
 */

/** Largest one system call is asked to move. Linux moves at most 2 GiB - 4 KiB whatever is asked. */
export const MAX_SYSCALL_BYTES: number = 256 * 1024 * 1024;
/** Largest range that one `read` returns in memory (Node 20 cannot make a larger buffer than 4 GiB). */
export const MAX_READ_BYTES: number = 4 * 1024 * 1024 * 1024 - 4096;
/** Most that is read from a pipe on standard input, which has to be held in memory. */
export const MAX_STDIN_BYTES: number = 512 * 1024 * 1024;

/** First range asked of a server: most headers of adapters fit, and a header then costs one request. */
export const HTTP_HEAD_BYTES: number = 64 * 1024;
/** Largest file taken whole from a server that does not serve ranges. */
export const HTTP_WHOLE_BYTES: number = 64 * 1024 * 1024;
/** Largest range of one request, and the most that is read ahead. */
export const HTTP_WINDOW_BYTES: number = 4 * 1024 * 1024;
/** Windows kept in memory beside the first one. */
export const HTTP_WINDOWS: number = 6;
/** Tries of one request: the first and four more. */
export const HTTP_TRIES: number = 5;
/** Wait before the second try, in ms; it doubles each time. */
export const HTTP_BACKOFF_MS: number = 500;
/** Longest wait between two tries, in ms, also when the server asks for more (Retry-After). */
export const HTTP_MAX_WAIT_MS: number = 30_000;
/** A server that is silent for this long, in ms, is given up (and tried again). */
export const HTTP_SILENCE_MS: number = 30_000;
/** Slowest transfer that is waited for, in bytes per second, after `HTTP_SILENCE_MS`: ends a drip that never ends. */
export const HTTP_MIN_RATE: number = 4096;
/** Redirects followed for one request. */
export const HTTP_REDIRECTS: number = 10;

/** Pages of a Hub listing that are fetched (1,000 entries each). */
export const HUB_LIST_PAGES: number = 20;
/** Folders below one another in a model. */
export const MAX_TREE_DEPTH: number = 32;
/** Files seen when a folder or a glob is expanded. */
export const MAX_EXPANDED_FILES: number = 1_000_000;

/** Small writes are gathered up to this many bytes. */
export const WRITE_BUFFER_BYTES: number = 1024 * 1024;
/**
 * Most that one write is given. Linux 6.18 spent up to 3 times the system time on writes of 8 MiB (3.4 to 4.2 s against
 * 1.2 to 1.4 s with 256 KiB, 1.7 GB on ext4; half of the whole system time of a fuse), probably because it takes the page
 * cache of a large write in large pieces. From 256 KiB to 1 MiB no difference was seen.
 */
export const WRITE_PIECE_BYTES: number = 512 * 1024;
/** Bytes written after which the disk is told to begin, where a file is large. */
export const WRITEBACK_BYTES: number = 32 * 1024 * 1024;
/** Longest that a loop of synchronous file work keeps signals waiting, in ms. */
export const YIELD_MS: number = 20;
