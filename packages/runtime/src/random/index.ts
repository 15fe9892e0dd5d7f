export { createTorchGenerator, MAX_DRAW, type TorchGenerator } from './torch-generator.js';
