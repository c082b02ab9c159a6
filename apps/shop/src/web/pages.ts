// The pages of the shop, as pure functions of what they show.

import type { Product } from '../catalog/product.ts';
import type { Order } from '../orders/order.ts';
import { type Cart, cartCount } from './cart.ts';
import { type Html, html, money, nothing, time } from './html.ts';

/** What every page shows. */
export interface Frame {
  readonly title: string;
  readonly path: string;
  readonly cart: Cart;
  /** Reload after this many seconds. */
  readonly refreshSeconds?: number;
}

/** Stock at which the page says so. */
const LOW_STOCK = 10;

/** A whole page. */
export function page(frame: Frame, body: Html): string {
  const count = cartCount(frame.cart);
  const link = (href: string, text: string): Html =>
    frame.path === href
      ? html`<li><a href="${href}" aria-current="page">${text}</a></li>`
      : html`<li><a href="${href}">${text}</a></li>`;
  const refresh =
    frame.refreshSeconds === undefined
      ? nothing
      : html`<meta http-equiv="refresh" content="${frame.refreshSeconds}">`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${refresh}<title>${frame.title} · Heptad Shop</title>
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="data:,">
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header class="bar"><div class="wide">
<a class="brand" href="/">Heptad Shop</a>
<nav aria-label="Shop"><ul>
${link('/', 'Products')}
${link('/cart', count === 0 ? 'Cart' : `Cart (${count})`)}
${link('/orders', 'Orders')}
</ul></nav>
</div></header>
<main id="main" class="wide">
${body}
</main>
<footer><div class="wide">The sample application of Heptad: three services, every order on a quorum of disks.</div></footer>
</body>
</html>
`.text;
}

function stockNote(product: Product): Html {
  if (product.stock <= 0) return html`<p class="stock low">Sold out</p>`;
  if (product.stock <= LOW_STOCK) return html`<p class="stock low">Only ${product.stock} left</p>`;
  return html`<p class="stock">${product.stock} in stock</p>`;
}

function addForm(product: Product, withQuantity: boolean): Html {
  const quantity = withQuantity
    ? html`<label for="quantity">Quantity</label>
<input id="quantity" name="quantity" type="number" value="1" min="1" max="${Math.max(1, product.stock)}" required>`
    : html`<input type="hidden" name="quantity" value="1">`;
  const button =
    product.stock > 0
      ? html`<button type="submit" aria-label="Add ${product.name} to cart">Add to cart</button>`
      : html`<button type="submit" disabled>Sold out</button>`;
  return html`<form class="inline" method="post" action="/cart/add">
<input type="hidden" name="productId" value="${product.id}">
${quantity}
${button}
</form>`;
}

/** `/`. */
export function productsPage(products: readonly Product[]): Html {
  const cards = products.map(
    (product) => html`<li class="card">
<h2><a href="/products/${product.id}">${product.name}</a></h2>
<p class="muted">${product.description}</p>
<div class="row"><p class="price">${money(product.priceCents)}</p>${stockNote(product)}</div>
${addForm(product, false)}
</li>
`,
  );
  const list =
    cards.length === 0 ? html`<p>Nothing is for sale yet.</p>` : html`<ul class="grid">${cards}</ul>`;
  return html`<h1>Products</h1>
<p class="muted">Plain things that last.</p>
${list}`;
}

/** `/products/:id`. */
export function productPage(product: Product): Html {
  return html`<p><a href="/">All products</a></p>
<article>
<h1>${product.name}</h1>
<p>${product.description}</p>
<p class="price">${money(product.priceCents)}</p>
${stockNote(product)}
${addForm(product, true)}
</article>`;
}

/** One line of the cart. */
export interface CartLine {
  readonly product: Product;
  readonly quantity: number;
}

/** `/cart`. */
export function cartPage(lines: readonly CartLine[], orderKey: string, problem?: string): Html {
  const notice = problem === undefined ? nothing : html`<p class="notice bad" role="alert">${problem}</p>`;
  if (lines.length === 0) {
    return html`<h1>Cart</h1>${notice}<p>Your cart is empty. <a href="/">See the products</a>.</p>`;
  }
  const total = lines.reduce((sum, { product, quantity }) => sum + product.priceCents * quantity, 0);
  const rows = lines.map(
    ({ product, quantity }) => html`<tr>
<th scope="row"><a href="/products/${product.id}">${product.name}</a></th>
<td><form class="inline" method="post" action="/cart/set">
<input type="hidden" name="productId" value="${product.id}">
<label for="q-${product.id}" class="muted">Quantity</label>
<input id="q-${product.id}" name="quantity" type="number" value="${quantity}" min="0" max="1000" required>
<button class="quiet" type="submit" aria-label="Update quantity of ${product.name}">Update</button>
</form></td>
<td class="number">${money(product.priceCents)}</td>
<td class="number">${money(product.priceCents * quantity)}</td>
</tr>
`,
  );
  return html`<h1>Cart</h1>${notice}
<div class="scroll"><table>
<caption>Set a quantity to 0 to take the product out.</caption>
<thead><tr><th scope="col">Product</th><th scope="col">Quantity</th><th scope="col" class="number">Each</th><th scope="col" class="number">Sum</th></tr></thead>
<tbody>${rows}</tbody>
<tfoot><tr><th scope="row" colspan="3">Total</th><td class="number">${money(total)}</td></tr></tfoot>
</table></div>
<form method="post" action="/orders">
<input type="hidden" name="orderKey" value="${orderKey}">
<div class="field">
<label for="customer">Your name</label>
<input id="customer" name="customer" autocomplete="name" maxlength="200" required>
</div>
<button type="submit">Place order</button>
</form>`;
}

function badge(order: Order): Html {
  return html`<span class="badge ${order.status}">${order.status}</span>`;
}

/** `/orders`. */
export function ordersPage(orders: readonly Order[]): Html {
  if (orders.length === 0)
    return html`<h1>Orders</h1><p>No orders yet. <a href="/">See the products</a>.</p>`;
  const rows = orders.map(
    (order) => html`<tr>
<th scope="row"><a href="/orders/${order.id}"><code>${order.id}</code></a></th>
<td>${time(order.placedAt)}</td>
<td>${order.customer}</td>
<td class="number">${money(order.totalCents)}</td>
<td>${badge(order)}</td>
</tr>
`,
  );
  return html`<h1>Orders</h1>
<div class="scroll"><table>
<caption>The newest orders. "placed" is stored safely; "confirmed" was accepted by the order master.</caption>
<thead><tr><th scope="col">Order</th><th scope="col">Placed</th><th scope="col">Customer</th><th scope="col" class="number">Total</th><th scope="col">Status</th></tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

/** `/orders/:id`. */
export function orderPage(order: Order, justPlaced: boolean): Html {
  const thanks = justPlaced
    ? html`<p class="notice" role="status">Thank you. Your order is stored and will be confirmed in a moment.</p>`
    : nothing;
  const confirmed =
    order.confirmedAt === undefined ? nothing : html`<p>Confirmed ${time(order.confirmedAt)}</p>`;
  const rows = order.items.map(
    (item) => html`<tr><th scope="row">${item.name}</th><td class="number">${item.quantity}</td>
<td class="number">${money(item.priceCents)}</td><td class="number">${money(item.priceCents * item.quantity)}</td></tr>
`,
  );
  return html`<p><a href="/orders">All orders</a></p>
<h1>Order</h1>
${thanks}
<p><code>${order.id}</code> ${badge(order)}</p>
<p>Placed ${time(order.placedAt)}${order.customer === '' ? nothing : html` by ${order.customer}`}</p>
${confirmed}
<div class="scroll"><table>
<thead><tr><th scope="col">Product</th><th scope="col" class="number">Quantity</th><th scope="col" class="number">Each</th><th scope="col" class="number">Sum</th></tr></thead>
<tbody>${rows}</tbody>
<tfoot><tr><th scope="row" colspan="3">Total</th><td class="number">${money(order.totalCents)}</td></tr></tfoot>
</table></div>`;
}

/** Any error. */
export function problemPage(title: string, message: string, hint: string | undefined): Html {
  const help = hint === undefined ? nothing : html`<p class="muted">${hint}</p>`;
  return html`<h1>${title}</h1><p class="notice bad" role="alert">${message}</p>${help}<p><a href="/">Back to the shop</a></p>`;
}
