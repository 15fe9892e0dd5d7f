export type { Picture } from './picture.js';
export { RESAMPLE_FILTERS, type ResampleFilter } from './resample-filters.js';
export { MAX_PICTURE_PIXELS, resizePicture } from './resize-picture.js';
