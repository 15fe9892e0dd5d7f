export * from './data/index.js';
export * from './gradients/index.js';
export * from './model/index.js';
export * from './optimizers/index.js';
export * from './result/index.js';
export * from './run/index.js';
