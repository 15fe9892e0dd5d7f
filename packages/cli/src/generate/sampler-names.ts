import type { SchedulerKind } from '@lorakit/runtime';

/** What A1111 and ComfyUI call our schedulers; ComfyUI has no PLMS, and `ipndm` is its nearest. */
export const SAMPLER_NAMES: Readonly<Record<SchedulerKind, { readonly a1111: string; readonly comfy: string }>> = {
	'dpmsolver++': { a1111: 'DPM++ 2M', comfy: 'dpmpp_2m' },
	'dpmsolver++-sde': { a1111: 'DPM++ 2M SDE', comfy: 'dpmpp_2m_sde' },
	ddim: { a1111: 'DDIM', comfy: 'ddim' },
	pndm: { a1111: 'PLMS', comfy: 'ipndm' },
	euler: { a1111: 'Euler', comfy: 'euler' },
	euler_a: { a1111: 'Euler a', comfy: 'euler_ancestral' },
	heun: { a1111: 'Heun', comfy: 'heun' },
	lms: { a1111: 'LMS', comfy: 'lms' },
	ddpm: { a1111: 'DDPM', comfy: 'ddpm' },
	unipc: { a1111: 'UniPC', comfy: 'uni_pc' },
	lcm: { a1111: 'LCM', comfy: 'lcm' },
};
