export type * from './gradients/gradient-engine.js';
export type * from './model/trainable-tensor.js';
export type * from './model/training-batch.js';
export type * from './model/training-model.js';
export type * from './optimizers/optimizer.js';
