// What the shop sells on its first day.

import type { ProductDraft } from './product.ts';

/** Products by id. */
export const SEED: Readonly<Record<string, ProductDraft>> = {
  'apple-crate': {
    name: 'Crate of apples',
    description: 'Twelve kilos of Boskoop, picked in October, for pies, sauce and winter evenings.',
    priceCents: 2490,
    stock: 120,
  },
  'sourdough-loaf': {
    name: 'Sourdough loaf',
    description: 'Rye and wheat, a two-day dough, baked dark. Keeps for a week.',
    priceCents: 620,
    stock: 80,
  },
  'mountain-cheese': {
    name: 'Mountain cheese',
    description: 'Raw-milk cheese from an alpine summer, matured for fourteen months. Half a kilo.',
    priceCents: 1690,
    stock: 60,
  },
  'forest-honey': {
    name: 'Forest honey',
    description: 'Dark and malty, from bees in fir woods. A jar of 500 grams.',
    priceCents: 980,
    stock: 200,
  },
  'olive-oil': {
    name: 'Olive oil',
    description: 'First pressing of Koroneiki olives, peppery. Three litres.',
    priceCents: 3850,
    stock: 45,
  },
  'coffee-beans': {
    name: 'Coffee beans',
    description: 'Washed Ethiopian Yirgacheffe, roasted light on Tuesdays. One kilo.',
    priceCents: 2980,
    stock: 90,
  },
  'cast-iron-pan': {
    name: 'Cast iron pan',
    description: 'Twenty-eight centimetres, seasoned, made to be inherited.',
    priceCents: 5400,
    stock: 25,
  },
  'linen-apron': {
    name: 'Linen apron',
    description: 'Stone-washed linen with two pockets, in slate grey.',
    priceCents: 3900,
    stock: 40,
  },
};
