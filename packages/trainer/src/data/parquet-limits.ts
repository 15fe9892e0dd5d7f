/** Limits of what is read of a Parquet file; each is checked before anything is allocated. */

/** Largest footer. One of a shard with 1,000 row groups of five columns has about 1 MB. */
export const MAX_PARQUET_FOOTER_BYTES: number = 16 * 1024 * 1024;
/** Numbers, strings, lists and structs in a footer, all together. */
export const MAX_PARQUET_FOOTER_VALUES: number = 2_000_000;
/**
 * Longest minimum or maximum of a column in a footer: writers leave longer ones out (Arrow and parquet-mr above 4 KB), and
 * hyparquet's time for a decimal grows with the square of its length.
 */
export const MAX_PARQUET_STATISTIC_BYTES: number = 8 * 1024;
/** Structs and lists inside one another in Parquet's own headers; the specification needs 8. */
export const MAX_THRIFT_DEPTH: number = 16;
/** Columns and groups of columns of a schema. */
export const MAX_PARQUET_SCHEMA_ELEMENTS: number = 4096;
/** Columns inside one another. */
export const MAX_PARQUET_SCHEMA_DEPTH: number = 32;
/** The length of the JSON text that names the features. */
export const MAX_FEATURES_CHARS: number = 1024 * 1024;
/** Rows of a data set: each is a name, a caption and a hash in memory. */
export const MAX_PARQUET_ROWS: number = 1_000_000;
/** Files of a data set. */
export const MAX_PARQUET_SHARDS: number = 10_000;
/** Largest header of a page, with its statistics. */
export const MAX_PAGE_HEADER_BYTES: number = 1024 * 1024;
/** Values in the header of a page. */
export const MAX_PAGE_HEADER_VALUES: number = 256;
/** Largest page, packed or unpacked. Arrow closes a page after 1 MB, but not before 1,024 rows in its older releases. */
export const MAX_PAGE_BYTES: number = 1024 * 1024 * 1024;
/** How much larger than its packed bytes an unpacked page may be above `PAGE_RATIO_FLOOR_BYTES`. */
export const MAX_PAGE_RATIO: number = 200;
/** Up to this size a page may be packed as well as it can. */
export const PAGE_RATIO_FLOOR_BYTES: number = 16 * 1024 * 1024;
/** Pages of a column in a row group beyond one for each value (dictionary, empty ones). */
export const MAX_SPARE_PAGES: number = 64;
/** Largest encoded picture. */
export const MAX_PARQUET_PICTURE_BYTES: number = 256 * 1024 * 1024;
/** Bytes of unpacked pages that a data set keeps for the next picture of the same page, at least one page. */
export const PAGE_CACHE_BYTES: number = 256 * 1024 * 1024;
