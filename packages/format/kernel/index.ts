// What src/kernel/wasm-kernel.ts calls. Memory is given out by the caller, from 65,536 on; nothing is allocated here.

export { cholesky, householder, jacobiSweep, reflectRows, rotateRows, sandwich, tridiagonalise } from './dense';
export { addGram, mirror, packColumns, packRows } from './gram';
export { addProduct } from './products';
export { addBF16, addF16, addF32, addF64, countNonFinite, countOverflowed, decodeF16 } from './rounding';
