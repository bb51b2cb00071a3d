followPoints(document,point=>document.querySelector("#trial-"+point.dataset.trial+" img")?.src);
const show=t=>{const row=document.getElementById("trial-"+t);document.querySelectorAll(".lit").forEach(r=>r.classList.remove("lit"));if(row){row.classList.add("lit");row.scrollIntoView({block:"center",behavior:"smooth"})}};
document.addEventListener("click",e=>{const p=e.target.closest("[data-trial]");if(p)show(p.dataset.trial)});
document.addEventListener("keydown",e=>{if((e.key==="Enter"||e.key===" ")&&e.target.matches(".rt-point")){e.preventDefault();show(e.target.dataset.trial)}});
