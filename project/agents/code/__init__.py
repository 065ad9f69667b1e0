"""From a plan and a design to the files of a site: plain HTML and CSS, checked before given out."""
