export { type DecodedPicture, type DecodePictureOptions, decodePicture, readPictureFile } from './decode-picture.js';
export { encodePng, type Rgb } from './encode-png.js';
export { MAX_PICTURE_BYTES, MAX_PICTURE_SIDE, type PictureHeader, readPictureHeader } from './picture-header.js';
export { type PictureKind, type Sniffed, sniffPicture } from './picture-kind.js';
