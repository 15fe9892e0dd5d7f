import type { Architecture } from '@lorakit/runtime';

/**
 * Colours of latents, channel by channel, as ComfyUI's previews have them (comfyanonymous/ComfyUI comfy/latent_formats.py):
 * fitted to the VAEs of Stable Diffusion. For another VAE the shapes are right and the colours are not.
 */
const SD: readonly (readonly [number, number, number])[] = [
	[0.3512, 0.2297, 0.3227],
	[0.325, 0.4974, 0.235],
	[-0.2829, 0.1762, 0.2721],
	[-0.212, -0.2616, -0.7177],
];
const SDXL: readonly (readonly [number, number, number])[] = [
	[0.3651, 0.4232, 0.4341],
	[-0.2533, -0.0042, 0.1068],
	[0.1076, 0.1111, -0.0362],
	[-0.3165, -0.2492, -0.2188],
];
const MAX_COLUMNS = 32;

/** Lines of a terminal with a small picture of latents (4, height, width): two pixels a character, upper and lower half. */
export function previewLines(latents: Float32Array, height: number, width: number, architecture: Architecture): readonly string[] {
	const channels = latents.length / (height * width);
	if (channels !== 4) return [];
	const factors = architecture === 'sdxl' ? SDXL : SD;
	const step = Math.max(1, Math.ceil(width / MAX_COLUMNS));
	const [columns, rows] = [Math.floor(width / step), Math.floor(height / step)];
	const colour = (column: number, row: number): string => {
		const at = Math.min(row, rows - 1) * step * width + column * step;
		const rgb = [0, 1, 2].map((c) => {
			const sum = factors.reduce((s, factor, channel) => s + (factor[c] ?? 0) * (latents[channel * height * width + at] ?? 0), 0);
			return Math.round(255 * Math.min(1, Math.max(0, (sum + 1) / 2)));
		});
		return rgb.join(';');
	};
	return Array.from({ length: Math.ceil(rows / 2) }, (_, line) => {
		const cells = Array.from(
			{ length: columns },
			(_unused, column) => `\u001b[38;2;${colour(column, 2 * line)};48;2;${colour(column, 2 * line + 1)}m\u2580`,
		);
		return `${cells.join('')}\u001b[0m`;
	});
}
