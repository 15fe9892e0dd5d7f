/** The fusing half of the built library, as `library.mjs` has the rest. Under vitest the sources take the place of the build. */
const FROM_SOURCE = process.env.VITEST !== undefined;
const ROOT = new URL(`../../packages/format/${FROM_SOURCE ? 'src' : 'dist'}/`, import.meta.url);

/** @param {string} name module under the root, without extension */
const load = (name) => import(/* @vite-ignore */ new URL(`${name}.${FROM_SOURCE ? 'ts' : 'js'}`, ROOT).href);

const [bases, plan, tensor, use, verify, kernels] = await Promise.all(
	[
		'bases/index',
		'transforms/fuse/plan-fuse',
		'transforms/fuse/fuse-tensor',
		'transforms/strength/adapter-use',
		'transforms/fuse/verify-fused',
		'kernel/index',
	].map(load),
);

export const { baseModel } = bases;
export const { planFuse } = plan;
export const { fusedTensor } = tensor;
export const { FULL_STRENGTH } = use;
export const { verifyFused } = verify;
export const { loadKernel } = kernels;
